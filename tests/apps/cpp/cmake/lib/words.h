const char *words();
