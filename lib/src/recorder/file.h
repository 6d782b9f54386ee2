#pragma once

#include "base/result.h"
#include "recorder/layout.h"

// What both sides of a flight recorder agree on about the file itself.
namespace refork::recorder {

// Fills in all but the identity and the worker's part, in memory that is all zero.
void initialise(Header& header) noexcept;

// EPROTO with a sentence if this is no flight recorder, or not one of this version and shape.
base::Result<void> check(const Header& header);

}  // namespace refork::recorder
