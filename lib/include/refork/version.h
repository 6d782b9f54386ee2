#pragma once

#define REFORK_VERSION_MAJOR 0
#define REFORK_VERSION_MINOR 1
#define REFORK_VERSION_PATCH 0
#define REFORK_VERSION "0.1.0"

/* Marks what librefork exports; everything else in it is hidden. */
#define REFORK_API __attribute__((visibility("default")))
