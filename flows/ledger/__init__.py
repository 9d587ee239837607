"""What is known of every partition: entries, verdicts, what is pending, events."""
