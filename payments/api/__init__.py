"""The payments endpoints of each public contract, one module per guide."""
