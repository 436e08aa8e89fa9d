# Slicer's macros as far as this extension uses them: they install what is listed and refuse what is missing.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "${MODULE_NAME}: ${file} is listed but does not exist")
    endif()
    get_filename_component(folder "${file}" DIRECTORY)
    file(COPY "${file}" DESTINATION "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${folder}")
    install(FILES "${file}"
      DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}"
      COMPONENT RuntimeLibraries
      )
  endforeach()
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}")
    message(FATAL_ERROR "${TEST_SCRIPT} does not exist")
  endif()
endfunction()
