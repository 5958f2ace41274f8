"""The document store: kinds of resources and what is the same for all of them."""
