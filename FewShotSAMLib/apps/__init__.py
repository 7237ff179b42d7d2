"""What people start: the command line, the demonstration, reports."""
