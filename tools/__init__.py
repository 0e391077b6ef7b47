"""For those who work on notifyd: what makes the files in the repository that are made of others."""
