"""Images that are drawn, and what an encoder learns from them."""
