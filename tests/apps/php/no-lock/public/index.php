<?php

require __DIR__ . "/../vendor/autoload.php";
echo App\Hello::say(), ", once";
