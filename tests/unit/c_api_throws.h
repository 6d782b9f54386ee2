#pragma once

/* What C code may call without knowing that it is C++. */

#ifdef __cplusplus
extern "C" {
#endif

/* A std::runtime_error with another one nested in it. */
void throw_runtime_error(void* unused);

#ifdef __cplusplus
}
#endif
