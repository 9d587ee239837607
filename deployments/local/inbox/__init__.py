"""The local inbox: takes every mail over SMTP, and shows it on a page."""
