"""The components of images: what layers contain, their bills of materials, and queries over all apps."""
