// Version number of forkmap. CMake reads it from this file.
// SPDX-License-Identifier: MIT
#pragma once

#define FORKMAP_VERSION_MAJOR 0
#define FORKMAP_VERSION_MINOR 1
#define FORKMAP_VERSION_PATCH 0
