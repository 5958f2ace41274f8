"""Model calls: which provider gets them, what must change on the way, and what is counted."""
