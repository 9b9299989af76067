"""The commands, one module each: a record of name, help and function, which calls the library and prints."""
