"""English, with dates that sort and cannot be misread, and the zone that we keep."""
