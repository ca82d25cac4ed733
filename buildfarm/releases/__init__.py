"""Apps' images without their base: what a build made, stored so that it can be put on another base without a build."""
