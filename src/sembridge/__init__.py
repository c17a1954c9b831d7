"""SemBridge moves an English sparse encoder to another language."""
