"""Mail to people: written in the transaction of what it tells, handed over after."""
