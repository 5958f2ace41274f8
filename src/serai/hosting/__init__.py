"""Running revisions of agents, functions, jobs and applications: isolated, on demand, healthy."""
