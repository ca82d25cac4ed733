"""Files of a git checkout as git reads them: configuration, index, ignore files and their patterns."""
