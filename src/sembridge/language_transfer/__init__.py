"""The transfer itself: vocabularies matched, bridged and weighed, rows built, and the result explained."""
