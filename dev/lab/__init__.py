"""Real hypervisors on one machine; api.py is the door for tests, README.md tells how it works."""
