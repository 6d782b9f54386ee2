# cmake -DLIBRARY=librefork.so -DINCLUDE=… -P install_symbols_test.cmake
# The library exports what its public headers declare with REFORK_API, and nothing else.

execute_process(COMMAND nm -D --defined-only -C ${LIBRARY} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," symbols "${symbols}")
string(REPLACE "\n" ";" symbols "${symbols}")

set(classes "")
set(names "")
foreach(symbol IN LISTS symbols)
  if(symbol STREQUAL "" OR symbol MATCHES " A (REFORK_[0-9]+|CXXABI_1\\.3)$")
    continue()
  endif()
  if(symbol MATCHES " W __cxa_throw@@CXXABI_1\\.3$")  # the hook of the throw, before the runtime's
    set(hook TRUE)
    continue()
  endif()
  string(REGEX REPLACE "^[0-9a-f]+ [A-Za-z] " "" name "${symbol}")
  if(name MATCHES "^refork::(base|proto|recorder|domain|worker)::" OR name MATCHES "::Impl::" OR
     NOT name MATCHES "^(typeinfo for |typeinfo name for |vtable for )?refork::|^refork_")
    message(SEND_ERROR "exported, though it is no part of the public interface: ${name}")
  endif()
  if(NOT symbol MATCHES "@@REFORK_[0-9]+$")
    message(SEND_ERROR "exported without a version: ${name}")
  endif()
  list(APPEND names "${name}")
endforeach()

if(NOT hook)
  message(SEND_ERROR "not exported: __cxa_throw@@CXXABI_1.3, without which exceptions thrown again have no first stack")
endif()

# Every class of the public headers that is marked for export has its members in the library.
file(GLOB headers ${INCLUDE}/refork/*.hpp)
foreach(header IN LISTS headers)
  file(STRINGS ${header} lines REGEX "^(class|struct) REFORK_API [A-Za-z_]+")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^(class|struct) REFORK_API ([A-Za-z_]+).*" "\\2" class "${line}")
    set(found FALSE)
    foreach(name IN LISTS names)
      if(name MATCHES "^refork::${class}(<|::)")
        set(found TRUE)
      endif()
    endforeach()
    if(NOT found)
      message(SEND_ERROR "refork::${class} is public, but librefork.so exports nothing of it: see lib/refork.map")
    endif()
  endforeach()
endforeach()

# So is every function of the C header.
file(STRINGS ${INCLUDE}/refork/refork.h lines REGEX "^REFORK_API ")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "^REFORK_API .*[ *](refork_[a-z_]+)\\(.*" "\\1" function "${line}")
  list(FIND names "${function}@@REFORK_0" at)
  if(at EQUAL -1)
    message(SEND_ERROR "${function}() is public, but librefork.so does not export it")
  endif()
endforeach()

# What a program derives from, catches or dynamic_casts needs these in one place.
foreach(name "typeinfo for refork::Emitter" "vtable for refork::Emitter")
  if(NOT names MATCHES "${name}")
    message(SEND_ERROR "not exported: ${name}")
  endif()
endforeach()
