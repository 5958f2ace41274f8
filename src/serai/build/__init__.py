"""From uploaded code to an image: uploads, safe unpacking, builders, and publishing a revision."""
