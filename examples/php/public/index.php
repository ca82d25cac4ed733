<?php

// A small web app: reports what runs it.
require __DIR__ . '/../vendor/autoload.php';

header('Content-Type: application/json');
echo json_encode(['app' => 'php', 'version' => PHP_VERSION, 'greeting' => Example\Greeting::text()]);
