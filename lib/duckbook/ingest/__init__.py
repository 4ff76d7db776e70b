"""From the landing zone to the history in S3, and from the history to ecom_raw."""
