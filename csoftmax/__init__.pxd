from csoftmax._core cimport jacobian_rows, loss_gradient_rows, real, softmax_rows
