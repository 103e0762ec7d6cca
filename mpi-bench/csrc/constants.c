/* MPI constants that the headers define as casts, which bindgen does not translate. Nothing else belongs here. */
#include <mpi.h>

void *trimtab_mpi_in_place(void) { return MPI_IN_PLACE; }

MPI_Info trimtab_mpi_info_null(void) { return MPI_INFO_NULL; }
