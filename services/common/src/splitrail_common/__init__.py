"""What Splitrail's services share."""
