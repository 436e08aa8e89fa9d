# Stands for Slicer's own configuration where Slicer is not built: the variables and files that this extension uses, and
# the checks that Slicer 5.10 and 5.12 make before they read a module's CMakeLists.txt.

# An extension has to be of the same bitness, which is known to projects with a language only.
set(Slicer_CMAKE_SIZEOF_VOID_P 8)
if(NOT Slicer_CMAKE_SIZEOF_VOID_P EQUAL CMAKE_SIZEOF_VOID_P)
  message(FATAL_ERROR "Mismatch between bitness of '${CMAKE_PROJECT_NAME}' and 'Slicer' project: [${CMAKE_SIZEOF_VOID_P}]")
endif()
# ITK, VTK and CTK, which are found from there, use both languages.
foreach(language C CXX)
  if(NOT CMAKE_${language}_COMPILER_LOADED)
    message(FATAL_ERROR "'${CMAKE_PROJECT_NAME}' has to enable the language ${language}")
  endif()
endforeach()

set(Slicer_USE_PYTHONQT ON)
set(Slicer_REVISION "34152")
set(Slicer_OS "linux")
set(Slicer_ARCHITECTURE "amd64")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_LAUNCHER_EXECUTABLE "${CMAKE_COMMAND}")
