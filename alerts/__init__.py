"""Calls somebody when it matters: rules judged on the feed and the trader, told by the ways that are given.

It alone has this way out. It imports bus and markets only.
"""
