# install_with_paths(FILE DIRECTORY): FILE, with the /usr/bin and /usr/share in it as they are below the prefix, which is known
# only when installing.
function(install_with_paths file directory)
  install(CODE "
    cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX NORMALIZE OUTPUT_VARIABLE prefix)
    foreach(place IN ITEMS \"bin:${CMAKE_INSTALL_BINDIR}\" \"share:${CMAKE_INSTALL_DATADIR}\" \"to:${directory}\")
      string(REGEX MATCH \"^([a-z]+):(.*)\" matched \"\${place}\")
      set(name \${CMAKE_MATCH_1})
      set(\${name} \"\${CMAKE_MATCH_2}\")
      cmake_path(ABSOLUTE_PATH \${name} BASE_DIRECTORY \"\${prefix}\")
    endforeach()
    file(READ \"${CMAKE_CURRENT_SOURCE_DIR}/${file}\" text)
    string(REPLACE \"/usr/bin/refork\" \"\${bin}/refork\" text \"\${text}\")
    string(REPLACE \"/usr/share/refork/\" \"\${share}/refork/\" text \"\${text}\")
    file(WRITE \"${CMAKE_CURRENT_BINARY_DIR}/installed/${file}\" \"\${text}\")
    file(INSTALL DESTINATION \"\${to}\" TYPE FILE FILES \"${CMAKE_CURRENT_BINARY_DIR}/installed/${file}\")
  ")
endfunction()
