#pragma once

#include "refork/version.h"
