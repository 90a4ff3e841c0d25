"""What values a configuration may hold: kinds and ranges, taken from annotations where the values are used."""
