"""The restorations part of the reviv guide."""
