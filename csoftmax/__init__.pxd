from csoftmax._csoftmax cimport jacobian_rows, loss_gradient_rows, real, softmax_rows
