"""notifyd"""
