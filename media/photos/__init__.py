"""Photo restoration: open, measure, repair the measured damage, write."""
