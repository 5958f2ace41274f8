"""What can be seen of model calls: rows, logs of their content, metrics and traces."""
