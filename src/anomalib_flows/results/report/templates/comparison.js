"use strict";
const opacity = document.getElementById("opacity");
opacity?.addEventListener("input", () => document.documentElement.style.setProperty("--heat", opacity.value));
