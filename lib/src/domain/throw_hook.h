#pragma once

#include <typeinfo>

namespace refork::detail {

using Throw = void (*)(void* object, std::type_info* type, void (*destroy)(void*));

// The runtime's own __cxa_throw, which the hook calls; null where this library is not in its way.
Throw runtimes_throw() noexcept;

}  // namespace refork::detail

extern "C" __attribute__((visibility("hidden"), noreturn)) void refork_throw(void* object,
                                                                             std::type_info* type,
                                                                             void (*destroy)(void*));
