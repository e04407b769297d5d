"""Recipe section -> object: the only room that knows both."""
