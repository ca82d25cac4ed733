<?php

require __DIR__ . "/../vendor/autoload.php";
echo "hello from ", SALUTE, ", ", strtok($_SERVER["REQUEST_URI"], "?");
