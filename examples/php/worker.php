<?php

require __DIR__ . '/vendor/autoload.php';

echo 'worker says ', Example\Greeting::text(), "\n";
