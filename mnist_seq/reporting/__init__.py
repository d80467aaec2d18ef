"""Figures, tables and HTML reports. The only package that imports matplotlib."""
