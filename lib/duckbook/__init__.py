"""duckbook: the helper library of the workbook's notebooks."""
