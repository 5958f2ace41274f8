"""Programs that show Serai from the outside."""
