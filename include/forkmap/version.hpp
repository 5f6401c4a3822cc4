// The one home of forkmap's version; CMake reads it from here.
#pragma once

#define FORKMAP_VERSION_MAJOR 0
#define FORKMAP_VERSION_MINOR 1
#define FORKMAP_VERSION_PATCH 0
