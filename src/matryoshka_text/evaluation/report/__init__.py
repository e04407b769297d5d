"""What people look at: tables, curves, costs, one HTML page."""
