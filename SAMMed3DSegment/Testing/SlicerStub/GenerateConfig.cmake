# Slicer writes <Extension>Config.cmake here, for extensions that link with this one.
if(NOT DEFINED EXTENSION_SUPERBUILD_BINARY_DIR)
  message(FATAL_ERROR "include(\${Slicer_USE_FILE}) has to come before")
endif()
