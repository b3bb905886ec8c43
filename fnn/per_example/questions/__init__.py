"""Questions to the gradients of a batch: noise, influence, importance, Fisher products.

This room uses `FactoredGradients` as users do, by its public methods. Nothing else in the
package imports from it.
"""
